"""Orders: the sample domain. Delete this folder when you have your own."""

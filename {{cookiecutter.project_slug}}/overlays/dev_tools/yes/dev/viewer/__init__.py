"""Show what a service exports, in the terminal and in the browser: `make dev` and `make view`."""

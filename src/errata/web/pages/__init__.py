"""One file a page: what it shows, and the changes that its forms make."""

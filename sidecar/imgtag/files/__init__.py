"""Small files in the state folder: each is complete or absent."""

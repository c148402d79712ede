"""Small files of the state folder: each is there whole or not at all."""

"""Work that somebody asks for, and that ends."""

"""What a valid policy probably did not mean."""

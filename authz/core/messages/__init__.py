"""What callers read: pages, JSON, and the text that a task prints."""

"""The demo: the whole story on small videos that it renders itself."""

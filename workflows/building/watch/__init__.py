"""What a build says of itself while it runs: the live state that `status` shows, metrics, the log of events, and the
user's own command when something happens. Nothing here decides anything, and nothing here can end a build."""

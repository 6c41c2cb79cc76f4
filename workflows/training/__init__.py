"""`train`: a run folder that knows where it stands, a plain training session, and Ray Train around it."""

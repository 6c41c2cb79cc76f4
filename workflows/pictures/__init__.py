"""Pictures for people: `colours` paints flow, `sheets` draws clips, captions and legends (with OpenCV)."""

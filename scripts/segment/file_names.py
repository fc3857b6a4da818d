"""Files in a folder of answers besides the answers."""

CONTACT_SHEET = "contact-sheet.jpg"
FAILED = "failed.txt"
#: What the answers answer, which also marks the folder as one of answers.
CONDITIONS = ".segment.json"

"""Names of the files in a folder of answers that are not answers."""

CONTACT_SHEET = "contact-sheet.jpg"
FAILED = "failed.txt"
#: The request behind the answers; it also marks a folder of answers.
CONDITIONS = ".segment.json"

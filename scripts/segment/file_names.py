"""Names of the files in a folder of answers that are not answers."""

CONTACT_SHEET = "contact-sheet.jpg"
FAILED = "failed.txt"
#: The request behind the answers; it also marks a folder of answers.
CONDITIONS = ".segment.json"
#: What `python -m scripts.bulk` keeps in a folder of its answers.
BULK_LOCK = ".bulk.lock"
ANSWER_FOLDER_MARKS = frozenset({CONDITIONS, BULK_LOCK})

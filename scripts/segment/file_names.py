"""Names of files in a folder of answers that are not answers themselves."""

CONTACT_SHEET = "contact-sheet.jpg"
FAILED = "failed.txt"
#: The request behind the answers; it also marks a folder of answers.
CONDITIONS = ".segment.json"
#: The lock file of `python -m scripts.bulk` in a folder of its answers.
BULK_LOCK = ".bulk.lock"
ANSWER_FOLDER_MARKS = frozenset({CONDITIONS, BULK_LOCK})

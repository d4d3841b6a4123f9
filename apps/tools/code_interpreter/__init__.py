"""The tool `code_interpreter`: containers that keep state and files, and the sandboxes they run in."""

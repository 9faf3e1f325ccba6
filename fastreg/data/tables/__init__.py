"""Tables in text files. `read` is the way in; the other modules are its parts, from the file to the columns."""

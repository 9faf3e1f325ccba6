"""What every package uses: checks of arguments, specs, descriptions, text tables, safe reading and writing of files."""

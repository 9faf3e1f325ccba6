"""What every room uses: checks of arguments, specs, descriptions, text tables, files written whole."""

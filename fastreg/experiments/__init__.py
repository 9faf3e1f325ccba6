"""The experiments: one file for each claim that a source document makes. `fastreg run NAME` runs one.

An experiment is a module here, and nothing else names it: a new file is listed, run and shown on the page. Its name is
that of the file, with hyphens. It uses fastreg as everybody does, and holds

    a docstring   the first line is the claim; the rest is the argument
    SYSTEMS       which of the systems it shows, such as "D7"
    measure(lab)  trains with one seed, and returns a dict of numbers
    table(runs)   the `Table` to print
    claims(runs)  the `Claim`s, each with what was found
    draw(figure, runs)   the picture

and may hold QUICK (the claim of the quick form, where that shows another one), SEEDS (5), SIZE (the picture's, in
inches), ALONE (True: its seeds are not trained side by side, because it measures time), NEEDS ("mnist": but for --quick
it means nothing on other images), OPTIONS (names and meanings of flags), TITLES (the claim with one of these flags,
where that is another one), and REFUTED (texts of claims that do not hold, for a reason that the docstring gives).

What they share is in `harness`. What only one needs is in its file.
"""

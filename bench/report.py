"""The report of epochs.py: lines of text and a picture."""

from fastreg.common.tables import duration

HEAD = (
    f"{'workload':14} {'limit':>8} {'fastreg':>8} {'of peak':>8}  {'peer':20} {'its step':>8} {'ratio':>6} {'95 %':>13}"
)


def headline(machine) -> str:
    """The text before the first measurement."""
    lines = [
        f"{machine['processor']}, {machine['cores']} cores, load {machine['load']}; "
        f"fastreg {machine['fastreg']} ({machine['simd']}), Python {machine['python']}",
        f"cleared for all processes: {', '.join(machine['cleared']) or 'nothing (no such variable was set)'}",
    ]
    if machine["missing"]:
        lines.append(f"missing: {', '.join(machine['missing'])} (pip install scikit-learn torch jax)")
    return "\n".join([*lines, "", HEAD, "-" * len(HEAD)])


def lines(result) -> str:
    """One workload, with one line per peer."""
    own = f"{result['workload']:14} {duration(result['limit']):>8} {duration(result['step']):>8} {result['share']:8.0%}"
    told = []
    for name, row in result["peers"].items():
        peer = f"{name} {row['variant']}".strip()
        interval = f"{row['low']:.2f} - {row['high']:.2f}"
        line = f"{own}  {peer:20} {duration(row['step']):>8} {row['ratio']:6.2f} {interval:>13}"
        told.append("  ".join([line, *_notes(row)]))
        own = " " * len(own)
    return "\n".join(told or [own])


def long_lines(long) -> str:
    """The steps of a long training, with one line per library."""
    head = f"{'long training':20} {'first step':>10} {'late step':>10} {'late / first':>13} {'95 %':>13}"
    told = ["", head, "-" * len(head)]
    for name, row in long["rows"].items():
        library, interval = f"{name} {row['variant']}".strip(), f"{row['low']:.2f} - {row['high']:.2f}"
        steps = f"{duration(row['early']):>10} {duration(row['late']):>10}"
        told.append(f"{library:20} {steps} {row['ratio']:13.2f} {interval:>13}")
    return "\n".join([*told, f"late: in the {long['late']}th epoch and just before it; {long['what']}"])


def _notes(row):
    if row["unsteady"]:
        yield "unsteady"
    if row["lacks"]:
        yield f"without {row['lacks']}"
    if "losses_agree" in row:
        yield f"losses {'agree' if row['losses_agree'] else 'DIFFER'} ({row['loss_error']:.0e})"


def tail(everything) -> str:
    """The text after the last measurement."""
    told = [
        "",
        "limit: the matrix products of a step at the peak of the fused multiply-adds, measured in the same run; "
        "of peak: this time over that of fastreg's step.",
        "ratio: the peer's step over fastreg's, median of the pairs, and its 95 % bootstrap interval.",
    ]
    for result in everything["results"]:
        steal = "" if result["steal"] is None else f", {result['steal']:.1%} of the processors' time stolen"
        told.append(
            f"{result['workload']}: {result['what']}, {result['rows']:,} rows; peak {result['peak']:.0f} GFLOP/s, "
            f"memory {result['bandwidth']:.0f} GB/s{steal}"
        )
    for name, versions in everything["versions"].items():
        told.append(f"{name}: " + ", ".join(f"{key} {value}" for key, value in versions.items()))
    return "\n".join(told + [f"failed: {complaint}" for complaint in everything["complaints"]])


# --- Picture -----------------------------------------------------------------------------------------------------

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9")  # Okabe and Ito


def draw(everything, path) -> None:
    """Draws bars of the ratios with their intervals, and a roofline with a point per library and workload."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        print("no picture: matplotlib is missing (pip install matplotlib)")
        return
    results = everything["results"]
    figure = Figure(figsize=(13, 5), layout="constrained")
    bars, roof = figure.subplots(1, 2)
    names = list(dict.fromkeys(name for result in results for name in result["peers"]))
    _bars(bars, results, names)
    _roofline(roof, results, names)
    machine = everything["machine"]
    title = f"{machine['processor']}, {machine['cores']} cores, {machine['simd']}, fastreg {machine['fastreg']}"
    figure.suptitle(title, fontsize=10)
    figure.savefig(path, dpi=150)


def _bars(axes, results, names):
    width = 0.8 / max(len(names), 1)
    for number, name in enumerate(names):
        found = [(place, result["peers"][name]) for place, result in enumerate(results) if name in result["peers"]]
        ratios = [row["ratio"] for _, row in found]
        errors = [
            [row["ratio"] - row["low"] for _, row in found],
            [row["high"] - row["ratio"] for _, row in found],
        ]
        places = [place + (number - (len(names) - 1) / 2) * width for place, _ in found]
        colour = COLOURS[1 + number % 4]
        axes.bar(places, ratios, width * 0.9, yerr=errors, color=colour, label=name, error_kw={"lw": 1})
        for place, ratio in zip(places, ratios, strict=True):
            axes.annotate(f"{ratio:.1f}", (place, ratio), (0, 3), textcoords="offset points", ha="center", fontsize=7)
    axes.axhline(1, color="#333333", lw=1)
    axes.set_yscale("log")
    axes.set_xticks(range(len(results)), [result["workload"] for result in results])
    axes.set_ylabel("time of a peer's epoch over fastreg's (log)")
    axes.set_title("How many times as fast fastreg is")
    if names:
        axes.legend(frameon=False)


def _roofline(axes, results, names):
    peak, bandwidth = (max(result[key] for result in results) for key in ("peak", "bandwidth"))
    intensities = [result["flops"] / result["bytes"] for result in results]
    low, high = min(*intensities, peak / bandwidth) / 2, max(*intensities, peak / bandwidth) * 2
    axes.plot([low, peak / bandwidth, high], [low * bandwidth, peak, peak], color="#333333", lw=1.5)
    for number, name in enumerate(["fastreg", *names]):
        points = [
            (intensity, result["flops"] / (result if name == "fastreg" else result["peers"][name])["step"] / 1e9)
            for intensity, result in zip(intensities, results, strict=True)
            if name == "fastreg" or name in result["peers"]
        ]
        axes.scatter(*zip(*points, strict=True), color=COLOURS[number % 5], label=name, s=45 if number == 0 else 20)
    for intensity in dict.fromkeys(intensities):  # one label for points above each other
        there = [result for at, result in zip(intensities, results, strict=True) if at == intensity]
        rate = max(result["flops"] / result["step"] / 1e9 for result in there)
        names = "\n".join(result["workload"] for result in there)
        axes.annotate(names, (intensity, rate), (-6, 4), textcoords="offset points", ha="right", fontsize=7)
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlabel("flop per byte that a step must move")
    axes.set_ylabel("GFLOP/s")
    axes.set_title(f"Roofline: {peak:.0f} GFLOP/s, {bandwidth:.0f} GB/s")
    axes.legend(frameon=False, loc="lower right")

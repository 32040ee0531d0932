"""Reads what load.sh left: lateness of releases, ceilings, and their ratios.

    load_table.py kept tacho|PEER RUN RATE REQUESTS       exit status 0 when the rate was kept up with
    load_table.py table FOLDER RATE REQUESTS PEER...      the table
"""

import json
import pathlib
import sys


def percentile(values, fraction):
    """By linear interpolation, as NumPy does by default."""
    values = sorted(values)
    place = fraction * (len(values) - 1)
    low = int(place)
    high = min(low + 1, len(values) - 1)
    return values[low] + (values[high] - values[low]) * (place - low)


def tacho(run):
    """Lateness in ms, requests a second released, the whole row."""
    row = json.loads((run / "points.json").read_text())[0]
    late = {name: row[f"lateness_{name}_ms"] for name in ("p50", "p99", "p999", "max")}
    # With equal gaps, releases end as late as they drift.
    span = (row["requests_done"] - 1) / row["offered_rate"] + row["lateness_drift_ms"] / 1e3
    return late, (row["requests_done"] - 1) / span, row


def arrivals(run, rate, requests):
    """The same of a peer, from when its requests reached the server; and how many did."""
    lines = pathlib.Path(f"{run}.arrivals").read_text().split()
    # The first requests may be probes of the server; the load is what came last.
    times = sorted(float(line) / 1e9 for line in lines)[-requests:]
    if len(times) < 2:
        return None
    offsets = [time - index / rate for index, time in enumerate(times)]
    late = [(offset - min(offsets)) * 1e3 for offset in offsets]
    found = {name: percentile(late, p) for name, p in (("p50", 0.5), ("p99", 0.99), ("p999", 0.999), ("max", 1))}
    return found, (len(times) - 1) / (times[-1] - times[0]), len(times)


def kept(side, run, rate, requests):
    measured = tacho(pathlib.Path(run)) if side == "tacho" else arrivals(run, rate, requests)
    if measured is None:
        print(f"  {side} at {rate:g}/s: nothing arrived", file=sys.stderr)
        return False
    late, achieved, found = measured
    # Of ours, the whole schedule must have been released and done: one that was ended early for its queue has not.
    whole = not found["saturated"] and found["requests_done"] == requests if side == "tacho" else found == requests
    good = whole and achieved >= 0.98 * rate and late["p99"] <= 10.0
    print(f"  {side} at {rate:g}/s: {achieved:.0f}/s, p99 lateness {late['p99']:.3f} ms", file=sys.stderr)
    return good


def ceiling(folder, side):
    """The highest rate kept up with in an unbroken row of kept ones; None when the lowest was not."""
    best = None
    runs = folder.glob(f"ceiling.{side}.*.log")
    for rate in sorted(int(path.name.split(".")[2]) for path in runs):
        seconds_requests = rate * int(sys.argv[4]) // int(sys.argv[3])
        if not kept(side, folder / f"ceiling.{side}.{rate}", float(rate), seconds_requests):
            return best, rate
        best = rate
    return best, None


def table(folder, rate, requests, peers):
    ours, _, _ = tacho(folder / "same")
    print("Lateness of releases, ms          p50      p99    p99.9      max")
    show = lambda name, late: print(f"{name:31} " + " ".join(f"{late[key]:8.3f}" for key in ("p50", "p99", "p999", "max")))
    show(f"tacho, {rate:g}/s constant", ours)
    for peer in peers:
        theirs = arrivals(folder / f"same.{peer}", rate, requests)
        if theirs is None:
            print(f"{peer}: nothing arrived")
            continue
        show(f"{peer}, {rate:g}/s constant", theirs[0])
        print(f"  p99 lateness, {peer} / tacho: {theirs[0]['p99'] / ours['p99']:.1f}")
        if theirs[2] < requests:
            print(f"  of {requests} requests, {theirs[2]} came")
    if (folder / "high").is_dir():
        high, _, row = tacho(folder / "high")
        show(f"tacho, {row['rate']:g}/s poisson", high)
        print(
            f"  over {row['seconds']:.0f} s: drift {row['lateness_drift_ms']:.4f} ms, takeovers {row['release_takeovers']}, "
            f"schedule kept: {row['fidelity_ok']}; wanted: p99 at most 0.1 ms ({high['p99'] <= 0.1}), p99.9 at most 1 ms "
            f"({high['p999'] <= 1.0})"
        )
    mine, missed = ceiling(folder, "tacho")
    told = lambda name, best, miss: print(
        f"ceiling of {name}: {f'{best}/s' if best else 'below the lowest rate tried'}" + (f" (missed {miss}/s)" if miss else ", the highest tried")
    )
    told("tacho", mine, missed)
    for peer in peers:
        other, missed = ceiling(folder, peer)
        told(peer, other, missed)
        if mine and (other or missed):
            print(f"  ceiling, tacho / {peer}: {f'{mine / other:.1f}' if other else f'over {mine / missed:.0f}'}")


if __name__ == "__main__":
    if sys.argv[1] == "kept":
        sys.exit(0 if kept(sys.argv[2], sys.argv[3], float(sys.argv[4]), int(sys.argv[5])) else 1)
    table(pathlib.Path(sys.argv[2]), float(sys.argv[3]), int(sys.argv[4]), sys.argv[5:])

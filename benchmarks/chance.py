"""How often two rows that do not differ at all come out as different, by the rule of the tables and claims.

    python benchmarks/chance.py

An interval is mean ± standard deviation over seeds (ddof 1); two rows differ where the intervals do not touch. Values
are drawn from one normal distribution. Seed by seed (`paired` of a claim), they differ where the mean of the
differences is further from 0 than √2 of their standard deviations. Then, of the largest of some rises that are noise
alone, the standard deviation in units of its mean: rises are differences of neighbours among normal values, as
`worst_rise` takes them.
"""

import numpy as np

PAIRS = 400_000
SEEDS = (2, 3, 5)
RISES = (4, 10)


def main() -> None:
    """Print both tables."""
    generator = np.random.default_rng(0)
    for seeds in SEEDS:
        left, right = generator.standard_normal((2, PAIRS, seeds))
        distance = np.abs(left.mean(1) - right.mean(1))
        apart = distance > left.std(1, ddof=1) + right.std(1, ddof=1)
        differences = left - right
        paired = np.abs(differences.mean(1)) > np.sqrt(2) * differences.std(1, ddof=1)
        print(f"{seeds} seeds each: {apart.mean():.1%} of pairs differ by chance, {paired.mean():.1%} seed by seed")
    for rises in RISES:
        largest = np.diff(generator.standard_normal((PAIRS, rises + 1)), axis=1).max(1)
        print(f"largest of {rises} rises: standard deviation {largest.std() / largest.mean():.2f} of its mean")


if __name__ == "__main__":
    main()

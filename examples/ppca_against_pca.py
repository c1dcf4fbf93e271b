"""Probabilistic PCA against PCA: the same subspace, and besides it a density.

pPCA is x = W z + mu + noise with z ~ N(0, I). Its maximum-likelihood W spans the space of the leading principal
components (Tipping and Bishop 1999), so three methods must agree on the handwritten digits: pPCA in closed form, pPCA
trained by SVI, and PCA of scikit-learn, which scores data by the same density.
"""

import torch
from sklearn.decomposition import PCA

from pyrogen import fit
from pyrogen.data import load
from pyrogen.inference import adam, cosine, log_likelihood
from pyrogen.models import PPCA


def largest_angle(a: torch.Tensor, b: torch.Tensor) -> float:
    """The largest principal angle between the spaces that the columns of two matrices span, in degrees."""
    first, second = (torch.linalg.qr(columns.detach().double()).Q for columns in (a, b))
    # What is left of one space outside the other: its sine, which is exact where the cosine is all but 1.
    outside = second - first @ (first.T @ second)
    return float(torch.linalg.svdvals(outside).max().clamp(max=1).asin().rad2deg())


def main(latent: int = 8, epochs: int = 80, seed: int = 0) -> dict:
    """Fit all three, print the table, and return its rows."""
    digits = load("digits")
    train, test = digits.train, digits.test
    pca = PCA(latent, svd_solver="full").fit(train["x"].flatten(1).numpy())
    axes = torch.from_numpy(pca.components_.T)

    closed = PPCA(digits.event_shape, latent).maximum_likelihood(train["x"])
    torch.manual_seed(seed)  # the directions that training starts from
    steps = epochs * -(-len(train["x"]) // 128)
    options = {"optimizer": adam(0.02), "schedule": cosine(steps), "device": "cpu", "seed": seed}
    trained = fit(PPCA(digits.event_shape, latent), train, epochs=epochs, **options).story

    rows = {"PCA (scikit-learn)": [0.0, *(pca.score(part["x"].flatten(1).numpy()) for part in (train, test))]}
    for name, story in {"pPCA, closed form": closed, "pPCA, SVI": trained}.items():
        scores = [log_likelihood(story, part, 1, exact=True).mean()[0] for part in (train, test)]
        rows[name] = [largest_angle(story.weight, axes), *scores]

    print(f"Digits, {latent} dimensions of 64     largest angle to PCA     log p(x), train      test (nats per image)")
    for name, (angle, on_train, on_test) in rows.items():
        print(f"{name:30} {angle:18.4f} deg {on_train:20.3f} {on_test:9.3f}")
    print(
        "\nThe closed form and scikit-learn are one model, but for a covariance over N or N - 1. SVI, which sees 128\n"
        "images at a time, finds space and density without an eigendecomposition."
    )

    # pPCA's reconstruction W E[z|x] = U diag(1 - sigma^2 / l_k) U' (x - mu) shrinks PCA's, axis by axis.
    noise = float(closed.log_sigma.detach().exp() ** 2)
    kept = 1 - noise / (torch.linalg.svdvals(closed.weight.detach()) ** 2 + noise)
    print(
        f"\nThe noise (sigma {noise**0.5:.3f}) makes pPCA shrink PCA's reconstruction, to {kept.max():.3f} of its\n"
        f"length along the first axis and {kept.min():.3f} along the last. As sigma tends to 0 these tend to 1, and\n"
        "pPCA becomes PCA."
    )
    return {"rows": rows, "kept": kept}


if __name__ == "__main__":
    main()

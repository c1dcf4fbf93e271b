"""Log-likelihoods by importance weights, in bounded memory, and Bayes' rule by means of them."""

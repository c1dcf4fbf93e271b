"""Networks over sequences: attention, recurrence, tokens, padding."""

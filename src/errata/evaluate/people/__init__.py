"""Samples of answers for people to rate: drawn, blinded, handed out, taken in, summed up."""

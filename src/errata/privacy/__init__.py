"""What a person may ask for: erasure, everywhere; and who may see what redaction took out."""

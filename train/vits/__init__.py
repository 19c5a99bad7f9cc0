"""What VITS needs to be trained, which `transformers` leaves out."""

"""What `taskhub.config` is made of: kinds of values, and the places that settings come from."""

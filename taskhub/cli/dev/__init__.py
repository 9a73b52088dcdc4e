"""What `taskhub dev` is made of: its parts, their folder and ports, when they are started again."""

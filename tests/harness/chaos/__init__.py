"""Ten thousand jobs under one kind of fault after the other, judged by what clients, handlers and rows say."""

"""A service that is hurt in every way there is, under load; and what was told of it, judged.

`plan` says what is done when, `scene` does it to a real gunicorn and writes down all that it can
see of itself, `story` reads what was written, `verdict` judges it, and `forgery` sees whether the
verdict would have found something wrong.
"""

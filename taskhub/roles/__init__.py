"""The one contract of what lives long: a thread each, made anew after anything unexpected, watched for hanging."""

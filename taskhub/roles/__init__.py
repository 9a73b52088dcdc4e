"""The one contract of what lives long: a thread each, recreated after anything unexpected, watched for hanging."""

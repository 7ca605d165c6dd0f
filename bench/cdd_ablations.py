ABLATIONS: dict = {}

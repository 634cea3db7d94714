print("martlet-benchmark")

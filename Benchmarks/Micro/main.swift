print("martlet-micro")

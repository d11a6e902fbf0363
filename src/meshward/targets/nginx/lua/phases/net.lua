return require("crowd").net()

require("counted").leave()

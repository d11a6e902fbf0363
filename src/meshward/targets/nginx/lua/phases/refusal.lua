return require("refusals").status()

local _, generation = require("page").read()
return generation or ""

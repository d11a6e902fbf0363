require("answer").piece()

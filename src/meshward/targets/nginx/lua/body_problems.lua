-- What the words that `body_model.find` returns say to a caller: what is wrong, and what to send instead.

return {
    absent = "The body names no model. Give its JSON object, or its form, one model at the top level.",
    after_end = "Something follows the JSON object in the body. Send one object and nothing else.",
    encoding = "The Content-Type names another charset than UTF-8. Send the body in UTF-8.",
    form_at_v1 = "The model of a form is named by the URL: send it to /m/NAME/v1/... instead of /v1/...",
    form_boundary = "The Content-Type of the form is not understood. "
        .. "Send multipart/form-data; boundary=WORD, with letters, digits and - _ . only.",
    form_file = "The form's model is a file or of another type than text. "
        .. "Send it as a plain field, without a filename.",
    form_head = 'A part of the form has headers that are not understood. '
        .. 'Send Content-Disposition: form-data; name="NAME", a filename without \\ or ; and Content-Type.',
    form_shape = "The form does not follow multipart/form-data: "
        .. "each part between boundaries on lines of their own, CRLF at line ends, nothing before or after.",
    form_urlencoded = "A URL-encoded form is not read here. Send the body as application/json.",
    in_pieces = "The body came in chunks too small to be held. Send it in larger chunks, or with its Content-Length.",
    misspelled = 'A name at the top level of the body could be read as "model" but is spelled otherwise. '
        .. 'Spell it in plain lower case, once.',
    needed = "The server behind this model has several: put this model's name into the body, as model.",
    not_json = "The body is not a JSON object in UTF-8 without a byte order mark: "
        .. "no comments, no single quotes, no commas too many, no raw line ends in strings.",
    not_plain = "The model in the body must be a string of 1 to 256 printable characters.",
    not_utf8 = "The body is not well-formed UTF-8. Send JSON in UTF-8.",
    odd_key = "A name at the top level of the body has a control character or half of a character. Leave it out.",
    other = "The body's model is not the one in the URL. Name that one, or leave the model out.",
    slow = "The body took as long to come as a whole request of this model may. Send it faster, or less of it.",
    too_deep = "The body nests objects and arrays more than 200 deep. Send it flatter.",
    twice = "The body names a model more than once at its top level. Name one.",
    unfinished = "The body ends inside its JSON object. Send all of it.",
}

"""JSONL bytes to rows and rejects. Pure: no files, no clock, no server.

A piece of lines goes to the fastest reader that takes it; all readers that take a line give the same rows.

    bulk                strict structs, a whole piece in one call: clean lines of one shape
    wide (many, one)    wide structs, a piece or a line: aliases, epoch numbers, numbers as text, no type, project or id
    wide (open)         the same for lines with unknown fields, near choices, digits as times
    line_reader         anything else that can be interpreted, foreign shapes too; explains what cannot

`structs` and `row_source` derive the first three from declarations, `lenient` reads by the declaration itself.
"""

"""JSONL bytes to rows and rejects. Pure: no files, no clock, no server.

`LineDecoder.decode` takes a piece of whole lines. Several readers exist, because the fast ones take fewer lines. All
readers that take a line make the same rows of it. They are tried in this order:

1. `bulk` decodes the whole piece in one call. It takes clean lines of our own shapes, all flat or all enveloped.
2. `wide_bulk` decodes the whole piece in one call, too. It takes lines of one type that are odd in the same way. It is
   tried on pieces of 8 KiB and more.
3. `line_by_line` reads the lines of any other piece, each by the first of these readers that takes it:
   a. `log_lines`, in folders of logs: JSON logs of other libraries. One plan serves all lines with the same keys, and
      `log_columns` makes their rows, 64 KiB of lines at once.
   b. `shaped_lines`: lines that begin as those of a foreign shape with a quick reader do (Mastra). The reader decodes
      64 KiB at once if all lines there have that shape.
   c. `wide`: lines of ours with other spellings: aliases, epoch numbers, numbers as text, no type, no project, no id.
   d. `wide`, open: also unknown fields, choices by near names, digits as times.
   e. `line_reader`: anything that can be interpreted. It explains a line that cannot.

`line_reader` passes a line on as well: the documents of OTLP go to `shaped_batches`, which makes many rows of one line;
the rest goes to `lenient`, which reads by the declaration itself. `events/shapes/shape` says which way is for which
foreign shape.

`bulk` and `wide` run code that is made of the declarations: `structs` makes the structs that lines decode into,
`row_source` writes the functions that make rows of them, `row_compiler` compiles these, `wide_values` has the
conversions that they call. `shaped_rows` compiles functions that make rows of events of foreign shapes.

`values`, `times` and `usage` convert single values; `nan` reads lines with NaN in them. `origin` is the second input
besides the bytes; `decoded`, `rows`, `counts` and `reject` are the results. `line_splitter` cuts bytes into pieces.
`explain` and `nearest` are the dry run.
"""

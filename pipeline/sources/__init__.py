"""Any pile of small images as rows, wherever it lies and whatever its format.

- `images` opens a pile: it finds it, tells its kind, and chooses who reads it.
- `rows` and `reading`: what a pile is to those who read it, and what the user chose.
- `stack` and `marks`: files whose rows follow each other, and where rows begin in them.
- `places`, `remote`, `piped`, `failures`, `streams`: where files lie, and how their bytes are read.
- `kinds`: kinds of files, by their names and first bytes.
- `arrays`, with `array_files`, `idx` and `pairs`: IDX, `.npy` and `.npz`, and which of them hold images and labels.
- `tables` and `csv_files`, with `table_files`, `choose_columns`, `csv_columns` and `columns`: Parquet, Arrow and CSV.
- `pictures`, `zips` and `shards`, with `formats`, `tars` and `members`: pictures in folders and archives.
- `levels`, `pixels` and `digit`: numbers to grey levels, any size to 28 x 28.
- `labels`: what a label means; `label_files`, `label_columns` and `member_labels`: where labels are.
"""

"""What would become of placements: `moorage plan`, `moorage replay`, and the report of `moorage policy diff`.

live.py      the running system as a plane on paper
whatif.py    what is to change on a plane: targets lost, gone, cordoned or drained, objects applied
forecast.py  which placements would be decided anew, as the controller has it, and to what
record.py    what is on record of a placement's last round
again.py     that round decided again, and what came out otherwise
report.py    what would become of placements, as a table and as JSON
"""

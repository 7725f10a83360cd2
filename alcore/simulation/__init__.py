"""The loop played offline on labelled volumes with a simulated expert: does active learning pay on this data?"""

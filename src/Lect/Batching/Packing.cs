namespace Lect;

/// <summary>Puts texts of different length into rows of one length.</summary>
internal static class Packing
{
    /// <summary>Best fit decreasing, as TRL: the longest first, each into the row that it leaves the least room in.</summary>
    /// <param name="lengths">Of the texts, each at most the capacity.</param>
    /// <param name="capacity">Tokens of a row.</param>
    /// <returns>Rows of places in the list.</returns>
    public static List<List<int>> BestFit(IReadOnlyList<int> lengths, int capacity)
    {
        var rows = new List<List<int>>();
        var open = new SortedDictionary<int, Queue<int>>();   // rows by the room they have
        void Offer(int room, int row)
        {
            if (!open.TryGetValue(room, out var queue)) open[room] = queue = new();
            queue.Enqueue(row);
        }
        var rooms = new SortedSet<int>();
        foreach (var i in Enumerable.Range(0, lengths.Count).OrderByDescending(i => lengths[i]))
        {
            if (lengths[i] > capacity) throw new ArgumentException($"Found a text of {lengths[i]} tokens. Expected at most {capacity}.");
            var fitting = rooms.GetViewBetween(lengths[i], int.MaxValue);
            int row, room;
            if (fitting.Count == 0) (row, room) = (rows.Count, capacity);
            else
            {
                room = fitting.Min;
                row = open[room].Dequeue();
                if (open[room].Count == 0) { open.Remove(room); rooms.Remove(room); }
            }
            if (row == rows.Count) rows.Add([]);
            rows[row].Add(i);
            if (room > lengths[i]) { Offer(room - lengths[i], row); rooms.Add(room - lengths[i]); }
        }
        return rows;
    }
}

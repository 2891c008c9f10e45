-- What Pandoc leaves raw in a notebook's Markdown and Typst would drop: LaTeX environments (\begin{align}) and <img>.
local function understood(element)
  if element.format:match("tex") then
    return pandoc.read(element.text, "latex").blocks
  elseif element.format == "html" and element.text:match("^%s*<img") then
    return pandoc.read(element.text, "html").blocks
  end
end

return {
  {
    RawBlock = understood,
    RawInline = function(element)
      local blocks = understood(element)
      return blocks and pandoc.utils.blocks_to_inlines(blocks)
    end,
  },
}
